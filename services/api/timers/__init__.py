"""Whatever happens later, as rows due in their organization's own clock."""

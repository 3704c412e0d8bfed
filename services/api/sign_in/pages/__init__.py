"""The pages that people see while they sign in: plain HTML, one style, no script."""

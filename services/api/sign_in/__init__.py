"""How people prove who they are, up to the authorization code their app redeems."""

"""Sign-ins in progress: what an app asked for, kept while somebody proves who they are."""

"""Applications: from a command line or an embedder's options to a Config, an application and a running master."""

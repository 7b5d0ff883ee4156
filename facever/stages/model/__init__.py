"""What commands of ``facever model`` do: read, import and complete model files."""

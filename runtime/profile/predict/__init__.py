"""What a provider that is not here would take."""

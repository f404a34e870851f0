"""What compression costs, on a user's own texts and tasks."""

"""What people, pictures and recordings there are: the manifest and how it is made."""

"""What people say of pictures: tags and notes."""

"""What is put on the Hugging Face Hub, and how."""

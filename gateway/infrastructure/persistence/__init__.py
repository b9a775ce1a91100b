"""What must outlive a call: the order journal, behind the interface that the domain owns."""

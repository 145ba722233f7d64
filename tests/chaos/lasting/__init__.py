"""What programs do not notice: replicas that are replaced, and faults that come again and again."""

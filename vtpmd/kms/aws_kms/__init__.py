"""Keys of the AWS Key Management Service."""

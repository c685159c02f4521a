"""Keys of the AWS Key Management Service."""

TYPE = "aws-kms"

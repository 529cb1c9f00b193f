from boto3 import Session  # noqa: F401

"""What scripts import of AWS's SDK beside boto3."""

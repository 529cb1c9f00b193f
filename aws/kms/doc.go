// Package kms is the driver of package seal for AWS KMS, through AWS's own SDK.
//
//	cfg, err := config.LoadDefaultConfig(ctx)
//	keys, err := kms.New(awskms.NewFromConfig(cfg), "alias/fleetwright", &kms.Options{Region: cfg.Region})
//	box := seal.NewBox(keys, nil)
//
// The rights that it needs are kms:GenerateDataKey, kms:Encrypt (rewrapping), kms:Decrypt, and kms:DescribeKey for Resolve.
//
// # Encryption context
//
// A data key of a parameter is wrapped with exactly the pair that AWS's own Parameter Store uses (statement S25), so that policies and grants which pin it
// (kms:EncryptionContext:PARAMETER_ARN) work:
//
//	PARAMETER_ARN = arn:PARTITION:ssm:REGION:ACCOUNT:parameter/NAME      one slash, whether the name begins with one or not
//
// Any other record has one pair, too:
//
//	fleetwright:record = base64(SHA-256(associated data))
//
// # Wrapped keys
//
//	0x01 | tag (32 bytes) | what KMS returned
//
// The tag is HMAC-SHA-256 under the data key of "fleetwright/kms/v1/record" 0x00 | length of the key's ARN (2 bytes) | the key's ARN | the associated data of package seal.
// Two records whose names make the same ARN have different tags, and so the whole of the associated data and the key id are authenticated, whatever the context can say.
//
// # What AWS encrypted
//
// Import reads values that AWS's Parameter Store encrypted, for moving from there. They are never written.
//
// Throttled and failed calls are tried again by the SDK, as its configuration says (three times, with backoff, unless told otherwise).
package kms

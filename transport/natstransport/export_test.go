package natstransport

// ValidNonce is for the tests.
var ValidNonce = validNonce

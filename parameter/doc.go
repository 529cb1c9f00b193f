// Package parameter is Parameter Store: configuration and secrets by name.
package parameter

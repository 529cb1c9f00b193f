// Package pgstore is the store on PostgreSQL.
package pgstore

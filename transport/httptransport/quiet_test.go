package httptransport_test

import (
	"io"
	"log"
)

// quiet swallows net/http's remarks about connections that tests break on purpose.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

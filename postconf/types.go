package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"sealpost/lib/table"
)

// errSaid is an error that was printed already.
var errSaid = errors.New("said already")

// showTypes prints the names of -a, -A, -l and -m. There are no SASL plug-ins.
func (c *command) showTypes() {
	switch c.mode {
	case 'l':
		c.print("flock\nfcntl\ndotlock\n")
	case 'm':
		types := table.Types()
		slices.Sort(types)
		c.print(strings.Join(types, "\n") + "\n")
	}
}

// showTLS prints what -T asks for: TLS is that of Go's standard library.
func (c *command) showTLS() error {
	switch c.topic {
	case "compile-version", "run-version":
		c.print("Go crypto/tls " + strings.TrimPrefix(runtime.Version(), "go") + "\n")
	case "public-key-algorithms":
		c.print("ecdsa\ned25519\nrsa\n")
	default:
		fmt.Fprintf(c.stderr, "postconf: warning: unknown 'postconf -T' mode: %s\n", c.topic)
		return errSaid
	}
	return nil
}

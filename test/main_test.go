// Package test holds the end-to-end tests: real programs in a private instance,
// without privileges, on loopback. Each reads as a story of what an
// administrator relies on.
package test

import (
	"os"
	"testing"
)

// TestMain lets the test binary be the client process of TestIdleConnections
// and TestIdleTLSConnections.
func TestMain(m *testing.M) {
	if addr := os.Getenv(idleEnv); addr != "" {
		os.Exit(idleClient(addr))
	}
	if addr := os.Getenv(idleTLSEnv); addr != "" {
		os.Exit(idleTLSClient(addr))
	}
	os.Exit(m.Run())
}

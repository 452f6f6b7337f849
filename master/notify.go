package main

import (
	"fmt"
	"net"
	"os"
)

// notifyManager tells the service manager that started master, if it wants to know,
// that the system is up (sd_notify(3)). Without that word a start that fails, because
// a port is taken for example, would look like one that went well.
func notifyManager() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	os.Unsetenv("NOTIFY_SOCKET") // not for others
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		_, err = c.Write([]byte("READY=1"))
		c.Close()
	}
	if err != nil {
		return fmt.Errorf("tell the service manager that the mail system is up: %w", err)
	}
	return nil
}

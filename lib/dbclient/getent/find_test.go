package getent

import (
	"context"
	"testing"

	"sealpost/lib/table"
)

// Daemons run without PATH; users are found all the same.
func TestNoPath(t *testing.T) {
	t.Setenv("PATH", "")
	users, err := Opener("getent")(table.Env{}, "unix:passwd.byname", "passwd.byname")
	if err != nil {
		t.Fatal(err)
	}
	if value, found, err := users.Lookup(context.Background(), "root"); err != nil || !found || value == "" {
		t.Errorf("root: %q, %t, %v", value, found, err)
	}
	if _, found, err := users.Lookup(context.Background(), "no-such-user-here"); err != nil || found {
		t.Errorf("unknown user: %t, %v", found, err)
	}
	if _, err := Opener("no-such-program")(table.Env{}, "unix:passwd.byname", "passwd.byname"); err == nil {
		t.Error("a program that is not there is found")
	}
}

// Package getent has the tables of the system's users and groups:
// unix:passwd.byname and unix:group.byname. They are asked for with getent(1),
// so that accounts from LDAP and the like are known without the C library in our
// programs.
//
// A value is the line of getent:
//
//	name:passwd:uid:gid:gecos:dir:shell
//	name:passwd:gid:member,member
//
// getent takes a number for a uid; a line about another name than the key is
// "not found". A getent that does not answer, or fails, is a temporary error.
package getent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
	"unicode/utf8"

	"sealpost/lib/table"
)

const (
	// timeout is how long getent may take.
	timeout = 10 * time.Second
	// atOnce is how many getents of one table run at a time.
	atOnce = 8
	// maxName is the longest name that is asked for.
	maxName = 256
	// notFound is the status of getent for a key that is not there.
	notFound = 2
)

// ErrName: there are only two such tables.
var ErrName = errors.New("unknown table; there are passwd.byname and group.byname")

// ErrAnswer: a line of getent that is none of its database.
var ErrAnswer = errors.New("unexpected answer of getent")

type users struct {
	spec, database, program string
	exact                   bool
	fields                  int
	slots                   chan struct{}
}

// Opener opens tables; program is the path of getent, or its name.
func Opener(program string) table.Opener {
	return func(env table.Env, spec, name string) (table.Table, error) {
		u := &users{spec: spec, exact: env.Exact, slots: make(chan struct{}, atOnce)}
		switch name {
		case "passwd.byname":
			u.database, u.fields = "passwd", 7
		case "group.byname":
			u.database, u.fields = "group", 4
		default:
			return nil, fmt.Errorf("%w, not %q", ErrName, name)
		}
		var err error
		if u.program, err = find(program); err != nil {
			return nil, err
		}
		return u, nil
	}
}

// find finds getent. A daemon has no PATH: master hands none on.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil || strings.ContainsRune(program, '/') {
		return path, err
	}
	for _, dir := range []string{"/usr/bin/", "/bin/"} {
		if path, inDir := exec.LookPath(dir + program); inDir == nil {
			return path, nil
		}
	}
	return "", err
}

func (u *users) Name() string    { return u.spec }
func (u *users) Fixed() bool     { return true }
func (u *users) Files() []string { return nil }
func (u *users) Close() error    { return nil }

// Lookup implements table.Table.
func (u *users) Lookup(ctx context.Context, key string) (string, bool, error) {
	if !u.exact {
		key = strings.ToLower(key)
	}
	if !isName(key) {
		return "", false, nil
	}
	value, found, err := u.ask(ctx, key)
	if err != nil {
		return "", false, table.Fail(u.spec, err)
	}
	return value, found, nil
}

// isName tells whether key can be the name of an account. An address is not: it
// is looked up for every recipient, so no process is started for it.
func isName(key string) bool {
	if key == "" || len(key) > maxName || key[0] == '-' || !utf8.ValidString(key) {
		return false
	}
	for i := range len(key) {
		if c := key[i]; c <= ' ' || c == 0x7f || c == ':' || c == '/' || c == '@' || c == ',' {
			return false
		}
	}
	return true
}

func (u *users) ask(ctx context.Context, key string) (string, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	case <-ctx.Done():
		return "", false, fmt.Errorf("wait for getent: %w", ctx.Err())
	}
	cmd := exec.CommandContext(ctx, u.program, u.database, key)
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", []string{"LC_ALL=C"}, time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", false, fmt.Errorf("getent: %w", ctx.Err())
	case errors.As(err, &exit) && exit.ExitCode() == notFound:
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("getent: %w: %.200q", err, said.String())
	}
	return u.answer(out.String(), key)
}

// answer checks the line that getent printed.
func (u *users) answer(out, key string) (string, bool, error) {
	line, _, _ := strings.Cut(out, "\n")
	if strings.Count(line, ":") != u.fields-1 {
		return "", false, fmt.Errorf("%w: %.200q", ErrAnswer, out)
	}
	name, _, _ := strings.Cut(line, ":")
	if name != key {
		return "", false, nil
	}
	return line, true, nil
}

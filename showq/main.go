package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue/listing"
	"sealpost/lib/service"
)

func main() {
	service.Main(service.Spec{Program: "showq", Kind: service.SingleSession, Init: initialize})
}

type settings struct {
	Timeout time.Duration `conf:"ipc_timeout"`
}

func initialize(env *service.Env) (*service.Worker, error) {
	var set settings
	var list listing.Settings
	if err := errors.Join(env.Config.Decode(&set), env.Config.Decode(&list)); err != nil {
		return nil, err
	}
	user := isUserSocket(env.ServiceName)
	return &service.Worker{Conn: func(ctx context.Context, s *service.Session) {
		lister := &listing.Lister{Queue: env.Queue, Settings: list, Log: s.Log}
		n, err := serve(ctx, s.Conn, lister, user, set.Timeout)
		switch {
		case err == nil:
			s.Log.Verbosef("listed %d messages for %s", n, env.ServiceName)
		case gone(err):
			s.Log.Verbosef("the client left after %d messages: %v", n, err)
		default:
			s.Log.Warnf("queue listing ended after %d messages: %v", n, err)
		}
	}}, nil
}

// isUserSocket reports whether a service is open to every local user: its
// clients know our protocol, not Postfix's alone.
func isUserSocket(service string) bool { return strings.HasPrefix(service, "user/") }

// gone reports that the client has seen enough.
func gone(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, context.Canceled)
}

// flushSize is how much of the listing is sent at a time.
const flushSize = 32 << 10

// serve sends the greeting and the listing (§2.12). It returns the number of
// messages listed. A client that misses the end mark knows that the listing is
// not complete.
func serve(ctx context.Context, c net.Conn, l *listing.Lister, user bool, timeout time.Duration) (int, error) {
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var e attr.Encoder
	flush := func() error {
		c.SetWriteDeadline(time.Now().Add(timeout))
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := c.Write(e.Bytes())
		e.Reset()
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		return nil
	}
	protocol := mailproto.ProtoShowq
	if user {
		protocol = mailproto.ProtoUserShowq
	}
	mailproto.Greeting{Protocol: protocol}.Append(&e)
	n := 0
	err := l.List(ctx, func(entry *mailproto.ShowqEntry) error {
		n++
		if user {
			entry.AppendUser(&e)
		} else {
			entry.Append(&e)
		}
		if len(e.Bytes()) < flushSize {
			return nil
		}
		return flush()
	})
	if err != nil {
		return n, err
	}
	e.End()
	return n, flush()
}

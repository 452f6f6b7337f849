package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/user"
	"strconv"

	"sealpost/lib/mailclient"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue/listing"
	"sealpost/lib/table"
)

// authorize looks for the caller in a list of users. The super-user and the mail
// system's owner are always allowed.
func (c *command) authorize(parameter, users, what string) error {
	if users == "static:anyone" || c.uid == 0 {
		return nil
	}
	if u, err := user.Lookup(c.set.MailOwner); err == nil && u.Uid == strconv.Itoa(c.uid) {
		return nil
	}
	list, err := table.OpenList(table.Env{Warnf: c.warnf}, parameter, users, table.Strings, false)
	if err != nil {
		return err
	}
	ok, err := list.Match(context.Background(), c.user)
	if err != nil {
		return fmt.Errorf("%s: %w", parameter, err)
	}
	if !ok {
		return exitf(exNoPerm, "User %s(%d) is not allowed to %s", c.user, c.uid, what)
	}
	return nil
}

// list writes the queue listing.
func (c *command) list(json bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.set.IPCTimeout)
	defer cancel()
	w := bufio.NewWriter(c.out)
	var p printer = &mailq{w: w, c: newColumns(c.set.Queue.LongIDs), zone: c.zone}
	if json {
		p = &jsonLines{w: w}
	}
	err := c.fromService(ctx, p)
	if errors.Is(err, mailclient.ErrConnect) {
		if !absent(err) || !c.privileged() {
			return fatalf("Queue report unavailable - mail system is down (%s)", c.connectError(err))
		}
		c.warnf("Mail system is down -- accessing queue directly (%s)", c.connectError(err))
		l := &listing.Lister{Queue: c.q, Settings: c.set.Listing}
		err = l.List(ctx, func(e *mailproto.ShowqEntry) error {
			p.entry(e)
			return nil
		})
	}
	if err == nil {
		p.end()
	}
	return errors.Join(err, w.Flush())
}

func (c *command) connectError(err error) string {
	return fmt.Sprintf("Connect to the %s showq service: %s", c.set.MailName, explain(err))
}

// fromService lists over a socket: the one that any user may open, and that
// tells more, or Postfix's. What was received is printed even if the end is
// missing; the error is ErrConnect only when nothing was.
func (c *command) fromService(ctx context.Context, p printer) error {
	path := mailproto.PathUserShowq
	s, err := mailclient.DialShowq(ctx, path, mailproto.ProtoUserShowq)
	if errors.Is(err, mailclient.ErrConnect) {
		c.verbosef("%v; trying %s", err, mailproto.PathShowq)
		errUser := err
		path = mailproto.PathShowq
		s, err = mailclient.DialShowq(ctx, path, mailproto.ProtoShowq)
		if errors.Is(err, fs.ErrPermission) {
			err = errUser // that public/ is closed to us says nothing
		}
	}
	if err != nil {
		return c.malformed(err)
	}
	defer s.Close()
	c.verbosef("listing from %s", path)
	for {
		e, err := s.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return c.malformed(err)
		}
		p.entry(e)
	}
}

// malformed is the error of an answer that does not begin or end as it should.
func (c *command) malformed(err error) error {
	if errors.Is(err, mailclient.ErrConnect) {
		return err
	}
	return fatalf("malformed showq server response: %w", err)
}

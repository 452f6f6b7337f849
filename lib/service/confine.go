package service

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os/user"
	"strconv"
	"syscall"
	"time"
)

// confine drops privileges (-u) and changes root (-c), after everything that the
// libraries open lazily was touched. Without root both are left out: everything
// runs as the calling user (DESIGN §3).
func (p *process) confine() error {
	if syscall.Geteuid() != 0 || p.opt.standAlone {
		return nil
	}
	var cred *credentials
	if p.opt.unprivileged {
		var err error
		if cred, err = lookupCredentials(p.set.MailOwner); err != nil {
			return fmt.Errorf("mail_owner: %w", err)
		}
	}
	if p.opt.chroot {
		touchLazies()
		if err := syscall.Chroot("."); err != nil {
			return fmt.Errorf("chroot %s: %w", p.set.QueueDirectory, err)
		}
		if err := syscall.Chdir("/"); err != nil {
			return fmt.Errorf("chdir /: %w", err)
		}
	}
	if cred != nil {
		return cred.become()
	}
	return nil
}

// credentials are a user's numbers.
type credentials struct {
	uid, gid int
	groups   []int
}

func lookupCredentials(name string) (*credentials, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	c := &credentials{}
	if c.uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil, fmt.Errorf("user id of %s: %w", name, err)
	}
	if c.gid, err = strconv.Atoi(u.Gid); err != nil {
		return nil, fmt.Errorf("group id of %s: %w", name, err)
	}
	if c.uid == 0 {
		return nil, fmt.Errorf("user %s has the privileges of root", name)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of %s: %w", name, err)
	}
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil {
			c.groups = append(c.groups, n)
		}
	}
	return c, nil
}

// become drops to the user for good, in all threads.
func (c *credentials) become() error {
	if err := syscall.Setgroups(c.groups); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if err := syscall.Setgid(c.gid); err != nil {
		return fmt.Errorf("setgid %d: %w", c.gid, err)
	}
	if err := syscall.Setuid(c.uid); err != nil {
		return fmt.Errorf("setuid %d: %w", c.uid, err)
	}
	return nil
}

// touchLazies makes the standard library open what it opens at first use: time
// zone, user data, resolver settings, services, certificates.
func touchLazies() {
	_ = time.Now().Local().String()
	_, _ = user.LookupId("0")
	_, _ = net.LookupPort("tcp", "smtp")
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _ = net.DefaultResolver.LookupHost(ctx, "localhost")
	_, _ = x509.SystemCertPool()
}

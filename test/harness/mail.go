package harness

import (
	"context"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Mail are the messages in a user's Maildir, sorted by file name.
func (i *Instance) Mail(user string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(i.MailDir, user, "new", "*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var out []string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		out = append(out, string(text))
	}
	return out, nil
}

// MailFiles are the paths of the messages in a user's Maildir.
func (i *Instance) MailFiles(user string) []string {
	paths, _ := filepath.Glob(filepath.Join(i.MailDir, user, "new", "*"))
	slices.Sort(paths)
	return paths
}

// WaitMail waits until a user has at least n messages.
func (i *Instance) WaitMail(ctx context.Context, user string, n int) ([]string, error) {
	var mail []string
	err := Poll(ctx, func() (bool, error) {
		if len(i.MailFiles(user)) < n {
			return false, nil
		}
		var err error
		mail, err = i.Mail(user)
		return true, err
	})
	if err != nil {
		return mail, fmt.Errorf("waiting for %d messages of %s: %w", n, user, err)
	}
	return mail, nil
}

// Send hands one message to the instance over SMTP.
func (i *Instance) Send(ctx context.Context, from string, to []string, message string) error {
	c, err := i.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Mail(from); err != nil {
		return err
	}
	for _, r := range to {
		if err := c.Rcpt(r); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(strings.ReplaceAll(message, "\n", "\r\n"))); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	// The message is the server's now. During a reload the answer to QUIT may be a
	// 421 already.
	_ = c.Quit()
	return nil
}

// Dial opens an SMTP session and says EHLO. The session ends with ctx.
func (i *Instance) Dial(ctx context.Context) (*smtp.Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", i.SMTP())
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	} else if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	c, err := smtp.NewClient(conn, i.Name+".test")
	if err != nil {
		conn.Close()
		return nil, err
	}
	if err := c.Hello("client.test"); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Queue is the number of files in each of the message queues.
func (i *Instance) Queue() map[string]int {
	n := make(map[string]int)
	for _, name := range []string{"maildrop", "incoming", "active", "deferred", "hold", "corrupt"} {
		_ = filepath.WalkDir(filepath.Join(i.QueueDir, name), func(_ string, e os.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				n[name]++
			}
			return nil
		})
	}
	return n
}

// WaitEmpty waits until no message is queued.
func (i *Instance) WaitEmpty(ctx context.Context) error {
	err := Poll(ctx, func() (bool, error) { return len(i.Queue()) == 0, nil })
	if err != nil {
		return fmt.Errorf("queue is not empty: %v: %w", i.Queue(), err)
	}
	return nil
}

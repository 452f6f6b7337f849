package test

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	"sealpost/lib/netstring"
	"sealpost/test/harness"
)

// TestHangingQueueManagerIsReplaced: a table that does not answer keeps qmgr from
// going on. It is ended and started again, and when the table answers the mail that
// waited is delivered.
func TestHangingQueueManagerIsReplaced(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	answers := make(chan struct{})
	l := listen(t, func(c net.Conn) {
		buf := make([]byte, 1000)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			select {
			case <-answers:
			case <-ctx.Done():
				return
			}
			c.Write(netstring.Append(nil, "NOTFOUND "))
		}
	})
	mta := harness.Start(t, harness.Options{Name: "hung", Domain: "b.test", Users: []string{"user"},
		Params: map[string]string{"transport_maps": fmt.Sprintf("socketmap:inet:%s:transport", l.Addr()), "qmgr_daemon_timeout": "1s"}})
	mark := mta.Log.Mark()
	// smtpd would ask the table, too.
	if _, err := mta.Command(ctx, strings.NewReader("X-Number: m1\n\nx\n"), "sendmail", "user@b.test"); err != nil {
		t.Fatal(err)
	}
	said, err := mta.Log.Wait(ctx, mark, `qmgr\[(\d+)\]: fatal: watchdog timeout: looking up a recipient of message \w+$`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mta.Log.Wait(ctx, mark, `process .*/qmgr pid `+regexp.QuoteMeta(said[1])+` exit status 1$`); err != nil {
		t.Error(err)
	}
	close(answers)
	if _, err := mta.WaitMail(ctx, "user", 1); err != nil {
		t.Fatal(err)
	}
	if n := mta.Log.Count("throttling"); n > 0 {
		t.Errorf("master throttles qmgr %d times", n)
	}
}

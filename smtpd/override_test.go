package main

import (
	"strings"
	"testing"

	"sealpost/lib/config"
	"sealpost/lib/mailproto"
)

// What receive_override_options leaves out: checks of recipients here, and what
// cleanup is asked to do.
func TestReceiveOverrideOptions(t *testing.T) {
	const rcpt = "RCPT TO:<nobody@virt.example>"
	const unknown = "550 5.1.1 <nobody@virt.example>: Recipient address rejected: User unknown in virtual mailbox table"
	all := mailproto.CleanupFilter | mailproto.CleanupBCC | mailproto.CleanupMap | mailproto.CleanupSMTPReply
	cases := map[string]struct {
		params []string
		reply  string
		off    mailproto.CleanupFlags
	}{
		"none":            {nil, unknown, 0},
		"recipients":      {[]string{"receive_override_options=no_unknown_recipient_checks"}, "250 2.1.5 Ok", 0},
		"explicitly":      {[]string{"receive_override_options=no_unknown_recipient_checks", "smtpd_recipient_restrictions=reject_unlisted_recipient"}, "250 2.1.5 Ok", 0},
		"checks, milters": {[]string{"receive_override_options=no_header_body_checks, no_milters"}, unknown, mailproto.CleanupFilter},
		"mappings":        {[]string{"receive_override_options=no_address_mappings"}, unknown, mailproto.CleanupMap | mailproto.CleanupBCC},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.params...)
			d := r.dial("")
			d.reply()
			d.say("EHLO c.example")
			d.want("MAIL FROM:<a@b.example>", "250 2.1.0 Ok", rcpt, c.reply, "RCPT TO:<bob@virt.example>", "250 2.1.5 Ok")
			d.say("DATA")
			d.say("Subject: x\r\n\r\n.")
			d.say("QUIT")
			d.closed()
			if got := r.cleanup.done[0].flags &^ mailproto.CleanupAutoUTF8; got != all&^c.off {
				t.Errorf("cleanup flags %v, want %v", got, all&^c.off)
			}
		})
	}
}

func TestUnknownOverrideIsAnError(t *testing.T) {
	c, err := config.FromMap(map[string]string{"myhostname": "mx.example", "receive_override_options": "no_milters no_foo"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decode(c); err == nil || !strings.Contains(err.Error(), `unknown receive_override_options value "no_foo"`) {
		t.Errorf("%v", err)
	}
}

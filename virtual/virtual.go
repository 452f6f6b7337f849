package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"sealpost/lib/address"
	"sealpost/lib/agent"
	"sealpost/lib/dsn"
	"sealpost/lib/mailbox"
	"sealpost/lib/mailproto"
	"sealpost/lib/service"
	"sealpost/lib/table"
)

type settings struct {
	Base       string        `conf:"virtual_mailbox_base"`
	Maps       string        `conf:"virtual_mailbox_maps"`
	UIDMaps    string        `conf:"virtual_uid_maps"`
	GIDMaps    string        `conf:"virtual_gid_maps"`
	MinUID     int           `conf:"virtual_minimum_uid"`
	Locks      []string      `conf:"virtual_mailbox_lock"`
	Limit      int64         `conf:"virtual_mailbox_limit"`
	SizeLimit  int64         `conf:"message_size_limit"`
	LockTries  int           `conf:"deliver_lock_attempts"`
	LockDelay  time.Duration `conf:"deliver_lock_delay"`
	Delimiters string        `conf:"recipient_delimiter"`
	Hostname   string        `conf:"myhostname"`
}

const relay = "virtual"

// virtualAgent delivers to virtual mailboxes.
type virtualAgent struct {
	set   settings
	boxes *table.Maps
	uids  *table.Maps
	gids  *table.Maps
	users *mailbox.Users
	root  bool
	now   func() time.Time
}

func initVirtual(env *service.Env) (agent.DeliverFunc, []string, error) {
	v := &virtualAgent{users: mailbox.NewUsers(), root: os.Geteuid() == 0, now: time.Now}
	if err := env.Config.Decode(&v.set); err != nil {
		return nil, nil, err
	}
	if v.set.Limit > 0 && v.set.SizeLimit > v.set.Limit {
		return nil, nil, fmt.Errorf("main.cf configuration error: virtual_mailbox_limit (%d) is smaller than message_size_limit (%d)",
			v.set.Limit, v.set.SizeLimit)
	}
	tenv := table.Env{Warnf: env.Log.Warnf}
	v.boxes = table.OpenMaps(tenv, "virtual_mailbox_maps", v.set.Maps)
	v.uids = table.OpenMaps(tenv, "virtual_uid_maps", v.set.UIDMaps)
	v.gids = table.OpenMaps(tenv, "virtual_gid_maps", v.set.GIDMaps)
	files := append(append(v.boxes.Files(), v.uids.Files()...), v.gids.Files()...)
	return v.deliver, files, nil
}

func (v *virtualAgent) deliver(ctx context.Context, d *agent.Delivery) {
	for i := range d.Req.Recipients {
		rcpt := &d.Req.Recipients[i]
		o := agent.Outcome{Recipient: rcpt, Relay: relay, Stats: d.Req.Stats}
		o.Status = v.recipient(ctx, d, rcpt)
		switch o.Status.Code[0] {
		case '2':
			d.Sent(ctx, o)
		case '5':
			d.Bounced(ctx, o)
		default:
			d.Deferred(ctx, o)
		}
	}
}

// recipient delivers to one recipient and says how that went.
func (v *virtualAgent) recipient(ctx context.Context, d *agent.Delivery, rcpt *mailproto.Recipient) dsn.Status {
	search := table.AddrSearch{Delimiters: v.set.Delimiters}
	key := strings.ToLower(rcpt.Addr)
	where, _, found, err := v.boxes.FindAddr(ctx, key, search)
	if err != nil {
		d.Log.Warnf("%s: mailbox lookup for %s: %v", d.Req.QueueID, rcpt.Addr, err)
		return dsn.Status{Code: "4.3.0", Reason: "mailbox lookup failure"}
	}
	if !found {
		return dsn.Status{Code: "5.1.1", Reason: fmt.Sprintf("unknown user: %q", rcpt.Addr)}
	}
	file, err := v.path(where)
	if err != nil {
		return v.misconfigured(d, rcpt, err)
	}
	id, err := v.owner(ctx, key, search)
	if err != nil {
		return v.misconfigured(d, rcpt, err)
	}
	d.Log.Verbosef("%s: recipient %s: mailbox %s, uid %d, gid %d", d.Req.QueueID, rcpt.Addr, file, id.UID, id.GID)
	kind := "mailbox"
	if strings.HasSuffix(file, "/") {
		kind = "maildir"
	}
	if d.Req.Flags&(mailproto.DeliverMTAVerify|mailproto.DeliverUserVerify) != 0 {
		return dsn.Status{Code: dsn.Code200, Reason: "delivers to " + kind}
	}
	d.ReadsContent()
	if err := v.users.Deliver(ctx, id, d.File, v.job(d, rcpt, file)); err != nil {
		return failed(err)
	}
	return dsn.Status{Code: dsn.Code200, Action: dsn.ActionDelivered, Reason: "delivered to " + kind}
}

func failed(err error) dsn.Status {
	var me *mailbox.Error
	if errors.As(err, &me) {
		return dsn.Status{Code: me.Code, Reason: me.Text}
	}
	return dsn.Status{Code: "4.3.0", Reason: err.Error()}
}

func (v *virtualAgent) misconfigured(d *agent.Delivery, rcpt *mailproto.Recipient, err error) dsn.Status {
	d.Log.Warnf("%s: recipient %s: %v", d.Req.QueueID, rcpt.Addr, err)
	return dsn.Status{Code: "4.3.5", Reason: "mail system configuration error"}
}

// path joins the base directory and a table value; ".." would let a table, or
// an address that a pattern copies into its value, leave the mailbox tree.
func (v *virtualAgent) path(value string) (string, error) {
	full := value
	if v.set.Base != "" {
		full = v.set.Base + "/" + value
	}
	for part := range strings.SplitSeq(value, "/") {
		if part == ".." {
			return "", fmt.Errorf("virtual_mailbox_maps value %q has a \"..\" element", value)
		}
	}
	if !strings.HasPrefix(full, "/") {
		return "", fmt.Errorf("mailbox path %q is not absolute: set virtual_mailbox_base", full)
	}
	if value == "" || strings.IndexByte(value, 0) >= 0 {
		return "", fmt.Errorf("virtual_mailbox_maps value %q is not a path", value)
	}
	if strings.HasSuffix(full, "/") {
		return path.Clean(full) + "/", nil
	}
	return path.Clean(full), nil
}

// owner looks up user and group of a mailbox. Without root there is no choice:
// everything belongs to the calling user (decision 44).
func (v *virtualAgent) owner(ctx context.Context, key string, search table.AddrSearch) (mailbox.ID, error) {
	if !v.root {
		return mailbox.ID{UID: os.Geteuid(), GID: os.Getegid()}, nil
	}
	uid, err := v.number(ctx, v.uids, "virtual_uid_maps", key, search)
	if err != nil {
		return mailbox.ID{}, err
	}
	if uid < v.set.MinUID || uid == 0 {
		return mailbox.ID{}, fmt.Errorf("virtual_uid_maps gives uid %d, below virtual_minimum_uid %d", uid, v.set.MinUID)
	}
	gid, err := v.number(ctx, v.gids, "virtual_gid_maps", key, search)
	if err != nil {
		return mailbox.ID{}, err
	}
	if gid == 0 {
		return mailbox.ID{}, errors.New("virtual_gid_maps gives gid 0")
	}
	return mailbox.ID{UID: uid, GID: gid}, nil
}

func (v *virtualAgent) number(ctx context.Context, m *table.Maps, param, key string, search table.AddrSearch) (int, error) {
	value, _, found, err := m.FindAddr(ctx, key, search)
	if err != nil {
		return 0, err
	}
	if !found {
		return 0, fmt.Errorf("%s has no entry for %s", param, key)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%s has %q for %s: not a numeric id", param, value, key)
	}
	return int(n), nil
}

func (v *virtualAgent) job(d *agent.Delivery, rcpt *mailproto.Recipient, file string) *mailbox.Job {
	var h strings.Builder
	h.WriteString("Return-Path: <" + address.Header(d.Req.Sender) + ">\n")
	if rcpt.OrigAddr != "" {
		h.WriteString("X-Original-To: " + address.Header(rcpt.OrigAddr) + "\n")
	}
	h.WriteString("Delivered-To: " + address.Header(rcpt.Addr) + "\n")
	return &mailbox.Job{
		Path: file, Header: h.String(), Sender: address.Header(d.Req.Sender),
		Hostname: v.set.Hostname, Now: v.now(), SizeLimit: v.set.Limit,
		Locks: v.set.Locks, LockTries: v.set.LockTries, LockDelay: v.set.LockDelay,
		DataOffset: d.Req.DataOffset,
	}
}

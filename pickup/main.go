package main

import (
	"path"
	"slices"
	"sync"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/service"
)

// settings are the parameters of both services.
type settings struct {
	Hostname       string        `conf:"myhostname"`
	MailName       string        `conf:"mail_name"`
	ContentFilter  string        `conf:"content_filter"`
	CleanupService string        `conf:"cleanup_service_name"`
	LineLimit      int           `conf:"line_length_limit"`
	IPCTimeout     time.Duration `conf:"ipc_timeout"`
	DaemonTimeout  time.Duration `conf:"daemon_timeout"`
	AutoUTF8       []string      `conf:"smtputf8_autodetect_classes"`
	Override       []string      `conf:"receive_override_options"`
	SubmitUsers    string        `conf:"authorized_submit_users"`
}

// picker is what both services share.
type picker struct {
	set   settings
	log   *maillog.Logger
	queue *queue.Queue
	now   func() time.Time

	overrides mailproto.Overrides

	scanning sync.Mutex // one scan at a time: a file must not be picked up twice
}

func newPicker(c *config.Config, log *maillog.Logger, q *queue.Queue) (*picker, error) {
	p := &picker{log: log, queue: q, now: time.Now}
	if err := c.Decode(&p.set); err != nil {
		return nil, err
	}
	var err error
	p.overrides, err = mailproto.ParseOverrides(p.set.Override)
	return p, err
}

func main() {
	service.Main(service.Spec{Program: "pickup", Kind: service.MultiClient, Init: initPickup})
}

func initPickup(env *service.Env) (*service.Worker, error) {
	p, err := newPicker(env.Config, env.Log, env.Queue)
	if err != nil {
		return nil, err
	}
	if path.Base(env.ServiceName) == "submit" {
		return newSubmit(p, env)
	}
	return &service.Worker{Trigger: p.scan}, nil
}

func (p *picker) cleanupPath() string { return "public/" + p.set.CleanupService }

// cleanupFlags is what local mail asks of cleanup; mail that the administrator
// requeued went through milters before (§0.1 M3).
func (p *picker) cleanupFlags(requeued bool) mailproto.CleanupFlags {
	flags := mailproto.CleanupBounce | mailproto.CleanupExternal
	if requeued {
		flags &^= mailproto.CleanupMilter
	} else if slices.Contains(p.set.AutoUTF8, "sendmail") || slices.Contains(p.set.AutoUTF8, "all") {
		flags |= mailproto.CleanupAutoUTF8
	}
	return p.overrides.Apply(flags)
}

package main

import (
	"time"

	"sealpost/lib/config"
	"sealpost/lib/queue"
	"sealpost/lib/service"
)

// settings are the parameters of the daemon.
type settings struct {
	Hostname       string   `conf:"myhostname"`
	MailName       string   `conf:"mail_name"`
	DoubleSender   string   `conf:"double_bounce_sender"`
	DoubleNotice   string   `conf:"2bounce_notice_recipient"`
	BounceNotice   string   `conf:"bounce_notice_recipient"`
	DelayNotice    string   `conf:"delay_notice_recipient"`
	NotifyClasses  []string `conf:"notify_classes"`
	SizeLimit      int      `conf:"bounce_size_limit"`
	TemplateFile   string   `conf:"bounce_template_file"`
	OldLogLines    bool     `conf:"backwards_bounce_logfile_compatibility"`
	Threaded       bool     `conf:"enable_threaded_bounces"`
	CleanupService string   `conf:"cleanup_service_name"`

	RequireTLS  bool `conf:"requiretls_enable"`
	RedactDSN   bool `conf:"requiretls_redact_dsn"`
	TLSRequired bool `conf:"tls_required_enable"`

	QueueLifetime time.Duration `conf:"maximal_queue_lifetime"`
	IPCTimeout    time.Duration `conf:"ipc_timeout"`
}

func main() {
	service.Main(service.Spec{Program: "bounce", NeedUnlimited: true, Init: initBounce})
}

func initBounce(env *service.Env) (*service.Worker, error) {
	b, err := newBouncer(env.Config, env.Queue, env.ServiceName)
	if err != nil {
		return nil, err
	}
	var files []string
	if b.set.TemplateFile != "" {
		files = append(files, b.set.TemplateFile)
	}
	return &service.Worker{Conn: b.serve, Files: files}, nil
}

// bouncer serves one of the three services.
type bouncer struct {
	set       settings
	queue     *queue.Queue
	service   string // bounce, defer or trace: also the log directory
	templates templates
	poster    poster
	now       func() time.Time
}

func newBouncer(c *config.Config, q *queue.Queue, serviceName string) (*bouncer, error) {
	b := &bouncer{queue: q, service: serviceName, now: time.Now}
	if err := c.Decode(&b.set); err != nil {
		return nil, err
	}
	var err error
	if b.templates, err = loadTemplates(b.set.TemplateFile, c); err != nil {
		return nil, err
	}
	b.poster = socketPoster{set: b.set}
	return b, nil
}

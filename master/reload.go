package main

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"sealpost/lib/config"
	"sealpost/lib/instance"
	"sealpost/lib/maillog"
)

// reload reads the configuration again. Whatever is wrong with it, the system
// goes on with the old one.
func (m *master) reload() {
	if m.stopping {
		return
	}
	m.log.Log(maillog.Info, maillog.MasterState{
		What: "reload", Version: m.settings.MailVersion, ConfigDir: m.opts.configDir})
	if err := m.reread(); err != nil {
		m.log.Errorf("reload failed, the old configuration stays in effect: %v", err)
	}
}

func (m *master) reread() error {
	cfg, err := config.Load(m.opts.configDir)
	if err != nil {
		return err
	}
	settings, err := instance.Load(cfg)
	if err != nil {
		return err
	}
	if settings.QueueDir != m.settings.QueueDir || settings.DataDir != m.settings.DataDir {
		return errors.New("to change queue_directory or data_directory, stop and start the system")
	}
	next, err := m.read(cfg)
	if err != nil {
		return err
	}
	var now netSettings
	if err := cfg.Decode(&now); err != nil {
		return err
	}
	if !slices.Equal(now.Interfaces, m.net.Interfaces) {
		m.log.Warnf("to change inet_interfaces, stop and start Postfix")
	}
	if !slices.Equal(now.Protocols, m.net.Protocols) {
		m.log.Warnf("to change inet_protocols, stop and start Postfix")
	}
	m.settings = settings
	m.apply(cfg, next.params)
	m.adopt(next.services)
	return nil
}

// adopt goes from the running services to those of a new master.cf.
func (m *master) adopt(list []planned) {
	running := make(map[string]*svc)
	for _, s := range m.services {
		running[s.key()] = s
	}
	var next []*svc
	for _, p := range list {
		s := m.newService(p)
		if old := running[s.key()]; old != nil && slices.Equal(old.eps, p.eps) {
			delete(running, s.key())
			old.renew(p.conf)
			next = append(next, old)
			continue
		} else if old != nil {
			old.remove()
			delete(running, s.key())
		}
		if err := s.open(); err != nil {
			m.log.Errorf("%v; the service is not available", err)
			continue
		}
		s.wake = newWakeup(s)
		s.watch()
		next = append(next, s)
	}
	for _, s := range running {
		s.remove()
	}
	m.services = next
}

// renew is a reload of one service: its processes are told to leave, the sockets
// stay. Where one process may run only, its successor waits for its end.
func (s *svc) renew(conf config.Service) {
	s.conf = conf
	s.wake.stop()
	s.unthrottle()
	busy := len(s.children) > 0
	s.renewStatus()
	if busy {
		s.successor = true
		if s.wanted() {
			s.successor = false
			s.start()
		}
	}
	s.wake = newWakeup(s)
	s.watch()
}

// remove ends a service that master.cf has no more.
func (s *svc) remove() {
	s.wake.stop()
	s.unthrottle()
	s.closeSockets()
	s.closeStatus()
	for _, e := range s.eps {
		if e.path != "" {
			_ = os.Remove(e.path)
		}
	}
	for _, group := range []map[int]*child{s.children, s.old} {
		for pid, c := range group {
			c.old = true
			_ = unix.Kill(pid, unix.SIGTERM)
		}
	}
}

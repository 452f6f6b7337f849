package service

import (
	"context"
	"net"
)

// Serve runs a worker in this process on listeners, which it closes, until ctx is
// done: for tests and for programs that embed a daemon. Sessions then have two
// seconds to notice. Of env it uses what is set; a zero Env will do.
func Serve(ctx context.Context, env *Env, w *Worker, listeners ...net.Listener) error {
	s := newServer(ctx, env, w)
	for _, ln := range listeners {
		s.addListener(ln)
	}
	err := s.run()
	if w.Close != nil {
		w.Close()
	}
	return err
}

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A poller tells when descriptors become readable. Each one is watched for one
// event and then has to be armed again, so a descriptor that nobody reads (a
// listening socket whose worker is starting) does not keep master busy.
//
// The descriptors are raw: an os.File would change the blocking mode that they
// share with the children. All methods but wait belong to master's loop.
type poller struct {
	epfd    int
	next    int32
	tokens  map[int32]func()
	byFD    map[int]int32
	ready   chan []int32
	stopped chan struct{}
}

func newPoller() (*poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	p := &poller{
		epfd:    epfd,
		tokens:  make(map[int32]func()),
		byFD:    make(map[int]int32),
		ready:   make(chan []int32),
		stopped: make(chan struct{}),
	}
	go p.wait()
	return p, nil
}

// wait runs beside the loop for the life of the process.
func (p *poller) wait() {
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(p.epfd, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			close(p.stopped)
			return
		}
		tokens := make([]int32, n)
		for i := range tokens {
			tokens[i] = events[i].Fd
		}
		p.ready <- tokens
	}
}

// add registers a descriptor, armed or not. A registration has a number of its
// own, so that an event that was on its way when its descriptor was closed
// never meets the next owner of that descriptor.
func (p *poller) add(fd int, armed bool, fn func()) error {
	p.next++
	token := p.next
	ev := unix.EpollEvent{Events: interest(armed), Fd: token}
	if err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	p.tokens[token] = fn
	p.byFD[fd] = token
	return nil
}

// arm watches a registered descriptor for its next event, or stops watching.
func (p *poller) arm(fd int, armed bool) {
	token, ok := p.byFD[fd]
	if !ok {
		return
	}
	ev := unix.EpollEvent{Events: interest(armed), Fd: token}
	// The descriptor is registered and valid: no error is possible.
	_ = unix.EpollCtl(p.epfd, unix.EPOLL_CTL_MOD, fd, &ev)
}

// remove forgets a descriptor. It must be called before the close: a child
// that holds a copy would keep the registration alive.
func (p *poller) remove(fd int) {
	token, ok := p.byFD[fd]
	if !ok {
		return
	}
	_ = unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, fd, nil)
	delete(p.byFD, fd)
	delete(p.tokens, token)
}

// dispatch runs the functions of a batch of events.
func (p *poller) dispatch(tokens []int32) {
	for _, t := range tokens {
		if fn := p.tokens[t]; fn != nil {
			fn()
		}
	}
}

func interest(armed bool) uint32 {
	if !armed {
		return unix.EPOLLONESHOT
	}
	return unix.EPOLLIN | unix.EPOLLONESHOT
}

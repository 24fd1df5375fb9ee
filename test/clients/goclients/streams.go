package main

import (
	"context"
	"net/http"

	"github.com/launchdarkly/eventsource"
	r3labs "github.com/r3labs/sse/v2"
	"github.com/tmaxmax/go-sse"
)

func readTmaxmax(j job, r *report) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url(), nil)
	if err != nil {
		return err
	}
	s := newStream(j)
	connection := (&sse.Client{}).NewConnection(request)
	connection.SubscribeToAll(func(e sse.Event) { s.show(e.Type, e.Data) })
	go func() { s.gone <- connection.Connect() }()
	return s.collect(r)
}

func readR3labs(j job, r *report) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := newStream(j)
	client := r3labs.NewClient(j.url())
	go func() {
		s.gone <- client.SubscribeRawWithContext(ctx, func(e *r3labs.Event) { s.show(string(e.Event), string(e.Data)) })
	}()
	return s.collect(r)
}

func readLaunchdarkly(j job, r *report) error {
	s := newStream(j)
	source, err := eventsource.SubscribeWithURL(j.url(), eventsource.StreamOptionErrorHandler(
		func(error) eventsource.StreamErrorHandlerResult { return eventsource.StreamErrorHandlerResult{} }))
	if err != nil {
		return err
	}
	defer source.Close()
	go func() {
		for e := range source.Events {
			s.show(e.Event(), e.Data())
		}
	}()
	return s.collect(r)
}

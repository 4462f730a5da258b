package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Broker is where it listens, and how to talk to it.
type Broker struct {
	URL  string
	HTTP *http.Client
}

// NewBroker takes the address without a path: https://broker.example.
func NewBroker(url string) *Broker {
	return &Broker{
		URL: strings.TrimRight(url, "/"),
		HTTP: &http.Client{
			Timeout: 10 * time.Second,
			// The broker never redirects; another server must not receive the request.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// ANCHOR: problem

// Problem is the broker's error response (RFC 9457). Code is for programs, Detail and Hint are for people, and RequestID finds
// the request in the broker's log.
type Problem struct {
	Status     int    `json:"status"`
	Code       string `json:"error_code"`
	Detail     string `json:"detail"`
	Hint       string `json:"hint"`
	RequestID  string `json:"request_id"`
	RetryAfter string `json:"-"`
}

func (p *Problem) Error() string {
	text := fmt.Sprintf("%d %s: %s (request %s)", p.Status, p.Code, p.Detail, p.RequestID)
	if p.RetryAfter != "" {
		text += fmt.Sprintf("; try again in %s s", p.RetryAfter)
	}
	if p.Hint != "" {
		text += "\nhint: " + p.Hint
	}
	return text
}

func problemOf(response *http.Response, body []byte) error {
	problem := &Problem{RetryAfter: response.Header.Get("Retry-After")}
	if err := json.Unmarshal(body, problem); err != nil || problem.Code == "" {
		return fmt.Errorf("%s from %s: not a response of the broker", response.Status, response.Request.URL)
	}
	return problem
}

// ANCHOR_END: problem

// call sends a body, if there is one, and reads the answer, if the caller wants it.
func (b *Broker) call(method, path, bearer string, body, answer any) error {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequest(method, b.URL+path, content)
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := b.HTTP.Do(request)
	if err != nil {
		return fmt.Errorf("cannot reach the broker: %w", err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("the broker's answer broke off: %w", err)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return problemOf(response, data)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%s: not a response of the broker: %w", request.URL, err)
	}
	return nil
}

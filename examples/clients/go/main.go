// An app lets two agents in; one hands part of its rights to the other, renews, and releases its token when it is done.
// Standard library only.
//
//	AGENTWRIT_BROKER_URL=… AGENTWRIT_CLIENT_ID=… AGENTWRIT_CLIENT_SECRET=… go run .
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() error {
	var settings [3]string
	for i, name := range []string{"AGENTWRIT_BROKER_URL", "AGENTWRIT_CLIENT_ID", "AGENTWRIT_CLIENT_SECRET"} {
		if settings[i] = os.Getenv(name); settings[i] == "" {
			return fmt.Errorf("%s is not set", name)
		}
	}
	broker := NewBroker(settings[0])
	appToken, err := broker.LogIn(settings[1], settings[2])
	if err != nil {
		return fmt.Errorf("logging in: %w", err)
	}
	if service := os.Getenv("AGENTWRIT_SERVICE_URL"); len(os.Args) > 1 && os.Args[1] == "proofs" {
		if service == "" {
			return errors.New("AGENTWRIT_SERVICE_URL is not set")
		}
		return withProofs(broker, appToken, service)
	}

	lead, err := admit(broker, appToken, "lead", []string{"read:data:*"})
	if err != nil {
		return err
	}
	helper, err := admit(broker, appToken, "helper", []string{"read:data:public"})
	if err != nil {
		return err
	}
	if err := use(broker, "lead", lead.Token); err != nil {
		return err
	}

	delegation, err := lead.Delegate(helper.ID, []string{"read:data:customers"}, 60)
	if err != nil {
		return fmt.Errorf("delegating: %w", err)
	}
	fmt.Printf("delegated: %d s, chain of %d\n", delegation.ExpiresIn, len(delegation.Chain))
	if err := use(broker, "helper", delegation.Token); err != nil {
		return err
	}

	old := lead.Token
	if err := lead.Renew(); err != nil {
		return fmt.Errorf("renewing: %w", err)
	}
	fmt.Printf("renewed: %d s\n", lead.ExpiresIn)
	if err := use(broker, "the old token", old); err != nil {
		return err
	}

	for _, agent := range []*Agent{lead, helper} {
		if err := agent.Release(); err != nil {
			return fmt.Errorf("releasing: %w", err)
		}
	}
	fmt.Println("released")
	if err := use(broker, "the released token", lead.Token); err != nil {
		return err
	}
	var problem *Problem
	if err := lead.Renew(); !errors.As(err, &problem) {
		return fmt.Errorf("a released token must not renew: %w", err)
	}
	fmt.Printf("too late to renew: %d %s\n", problem.Status, problem.Code)
	return nil
}

// admit lets an agent in that may do just this.
func admit(broker *Broker, appToken, name string, scope []string) (*Agent, error) {
	launchToken, err := broker.LaunchToken(appToken, name, scope)
	if err != nil {
		return nil, fmt.Errorf("launching the %s: %w", name, err)
	}
	agent, err := broker.Register(launchToken, "demo", name, scope)
	if err != nil {
		return nil, fmt.Errorf("registering the %s: %w", name, err)
	}
	fmt.Printf("registered: %s, %d s\n", agent.ID, agent.ExpiresIn)
	return agent, nil
}

// use does what a service would that gets the token with a request.
func use(broker *Broker, who, token string) error {
	validity, err := broker.Validate(token)
	if err != nil {
		return fmt.Errorf("asking about a token: %w", err)
	}
	if validity.Valid {
		fmt.Printf("%s: may %s\n", who, strings.Join(validity.Claims.Scope, " "))
	} else {
		fmt.Printf("%s: refused\n", who)
	}
	return nil
}

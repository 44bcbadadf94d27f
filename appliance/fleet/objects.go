package fleet

import "encoding/json"

// Objects are what is in a swarm beside its nodes and tasks, as Docker describes it, for who makes
// it again in another one.
type Objects struct {
	Services []Object `json:"services"` // all, also those that crawlbox did not make
	Networks []Object `json:"networks"` // of the swarm, but for its ingress
	Configs  []Object `json:"configs"`  // with what they hold
	Secrets  []string `json:"secrets"`  // names; Swarm does not give their content back
}

// Object is one of them. IDs stand in the specs of others.
type Object struct {
	ID   string          `json:"id"`
	Name string          `json:"name"`
	Spec json.RawMessage `json:"spec"`
}

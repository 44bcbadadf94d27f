package service

import (
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestServiceState(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		service fleet.Service
		want    string
	}{
		{fleet.Service{Desired: 3, Running: 3}, "running"},
		{fleet.Service{Desired: 3, Running: 1, Complete: 2}, "running"},
		{fleet.Service{Desired: 3, Complete: 3}, "complete"},
		{fleet.Service{Desired: 3, Running: 1}, "starting"},
		{fleet.Service{Desired: 3, Running: 1, Failed: 2}, "2 failing"},
		{fleet.Service{Desired: 1, Running: 1, Failed: 2}, "running"},
		{fleet.Service{Desired: 3, NoNode: true}, "no node takes it"},
		{fleet.Service{Mode: fleet.ModeGlobal, NoNode: true}, "no node takes it"},
		{fleet.Service{Running: 1}, "stopping"},
		{fleet.Service{Failed: 1}, "stopped"},
		{fleet.Service{Desired: 3, Running: 3, Update: "updating"}, "updating"},
		{fleet.Service{Desired: 3, Pending: "3 spider:2"}, "updating"},
		{fleet.Service{Desired: 3, Running: 3, Update: "paused"}, "update paused"},
		{fleet.Service{Desired: 3, Running: 3, Update: "rollback_completed"}, "rolled back"},
		{fleet.Service{Desired: 3, Running: 3, Update: "completed"}, "running"},
	} {
		if got := serviceState(tt.service).Text; got != tt.want {
			t.Errorf("%+v: got %s, want %s", tt.service, got, tt.want)
		}
	}
}

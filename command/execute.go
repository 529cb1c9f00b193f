package command

import "context"

// Execute sends a command, waits for its end, and returns it with all its invocations: for programs that want an answer, not progress. When ctx ends first, the command
// goes on; what is returned then is its state so far, with ctx's error. It needs the rights of Send, Wait and Invocations.
func (s *Service) Execute(ctx context.Context, req SendRequest) (Command, []Result, error) {
	c, err := s.Send(ctx, req)
	if err != nil {
		return c, nil, err
	}
	ended, err := s.Wait(ctx, c.ID)
	if err != nil {
		ctx = context.WithoutCancel(ctx)
		if now, gerr := s.Get(ctx, c.ID); gerr == nil {
			c = now
		}
	} else {
		c = ended
	}
	var all []Result
	for token := ""; ; {
		page, next, lerr := s.Invocations(ctx, ListRequest{Command: c.ID, Limit: 1000, NextToken: token})
		if lerr != nil {
			if err == nil {
				err = lerr
			}
			return c, all, err
		}
		all = append(all, page...)
		if token = next; next == "" {
			return c, all, err
		}
	}
}

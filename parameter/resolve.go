package parameter

import (
	"context"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
)

// Parameters looks up what {{ssm:NAME}} in documents means, at most ten names at a time, with selectors or without: it is a document.Resolver. A name that is missing from the answer is unknown, or
// the caller may not read it (ssm:GetParameters). A SecureString is UnsupportedParameterType: a document never sees one.
func (s *Service) Parameters(ctx context.Context, names []string) (map[string]string, error) {
	const op = "parameter.Parameters"
	got, err := s.getMany(ctx, op, "ssm:GetParameters", GetParametersRequest{Names: names})
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(got.Parameters))
	answers := byGiven(names, got.Parameters)
	for name, p := range answers {
		if p.Type == SecureString {
			return nil, fault.New(op, CodeUnsupportedType, "parameter %s is a SecureString, which {{ssm:…}} does not take: use {{ssm-secure:…}} where the action allows it", clip(name)).About(name)
		}
		out[name] = p.Value.Reveal()
	}
	return out, nil
}

// SecureParameters looks up what {{ssm-secure:NAME}} means, decrypted. It takes parameters of any type; see Parameters.
func (s *Service) SecureParameters(ctx context.Context, names []string) (map[string]secret.Value, error) {
	got, err := s.getMany(ctx, "parameter.SecureParameters", "ssm:GetParameters", GetParametersRequest{Names: names, WithDecryption: true})
	if err != nil {
		return nil, err
	}
	out := make(map[string]secret.Value, len(got.Parameters))
	for name, p := range byGiven(names, got.Parameters) {
		out[name] = p.Value.Secret()
	}
	return out, nil
}

// byGiven finds the answer to each name as it was asked for.
func byGiven(names []string, ps []Parameter) map[string]Parameter {
	out := make(map[string]Parameter, len(ps))
	for _, name := range names {
		if below, ok := outside(name); ok {
			for _, p := range ps {
				if p.Name+p.Selector == below {
					out[name] = p
				}
			}
			continue
		}
		ref, err := refer("parameter", "", name, true)
		if err != nil {
			continue
		}
		for _, p := range ps {
			if (canonical(p.Name) == ref.canon || p.Name == p.ARN && ref.arn && hasPath(p.ARN, ref.canon)) && p.Selector == ref.selector() {
				out[name] = p
			}
		}
	}
	return out
}

// hasPath reports whether an ARN is that of the name.
func hasPath(arn, canon string) bool {
	suffix := ":parameter" + canon
	return len(arn) > len(suffix) && arn[len(arn)-len(suffix):] == suffix
}

// Package iam evaluates AWS's policy JSON, so that the policies people have decide who may do what here.
//
//	p, err := iam.Parse(text, nil) // all findings at once, each with its place
//	d := iam.Explain(iam.Policies{Identity: []*iam.Policy{p}}, &iam.Request{
//		Principal: iam.Principal{ARN: "arn:aws:iam::123456789012:user/ann"},
//		Action:    "ssm:GetParameter",
//		Resource:  "arn:aws:ssm:eu-central-1:123456789012:parameter/app/db",
//		Context:   iam.Context{"aws:ResourceTag/team": {"db"}},
//	})
//	fmt.Println(d) // the decision, the statement that made it, the conditions that failed
//
// [NewAuthorizer] makes an access.Authorizer of it: the actions of this module carry AWS's names already (access.Actions), and its resources become ARNs ([Names]).
//
// # What is decided how
//
// The rules are those of the IAM User Guide, "JSON policy element reference" and "Policy evaluation logic". An explicit Deny of any policy wins; without an Allow nothing is allowed.
// Where the guide is silent or AWS itself warns, the reading is the one that allows less:
//
//   - A policy without a Version is one of 2008-10-17, where "${aws:username}" are so many letters.
//   - A policy variable that has no value, or several, and no default ("${aws:PrincipalTag/team, 'none'}") equals nothing. A negated operator compared with it is false in an Allow, true in a Deny.
//   - Wildcards in a variable's value, or in a resource that is asked for, are letters.
//   - A value of the request that has not the operator's type (a word for a number, no IP address) fails the condition of an Allow and meets that of a Deny.
//   - A key that is missing fails an operator and meets a negated one and …IfExists (but for ForAnyValue:, which it always fails; ForAllValues: it always meets).
//   - A key that has several values and an operator without ForAllValues: or ForAnyValue: is met when any value matches; the negated operator when none does.
//   - Keys of conditions are the same in any case. Where tags differ in case only, the one spelled as the policy spells it counts, else all of them.
//   - A star at the end of a segment of a resource's ARN reaches over colons, another star in the first five segments does not (as the guide has it).
//     Of ARN operators each of the six parts is compared alone.
//   - A grant of a resource's policy to a whole account is a delegation: the caller's own policies must allow, too.
//
// Nothing here does I/O or reads a clock; policies are immutable once parsed and safe for concurrent use.
package iam

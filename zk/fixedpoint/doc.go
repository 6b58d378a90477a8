// Package fixedpoint trains small models in integers, exactly.
//
// Local training at proof level "trained" is not floating-point training with
// a proof beside it: it is this package. Every step is an integer rule with one
// result, so a proof that an update is the result of these steps leaves a node
// nothing to choose, and two machines agree bit for bit. Package
// zk/circuit/training proves exactly what this package computes; its SPEC.md
// derives how far the result may be from floating-point training.
//
// # Numbers
//
//	features, targets   multiples of 2^-8    (FeatureFraction), at most 16 bits
//	weights             multiples of 2^-16   (WeightFraction), below 128 in size
//	scores              rounded to 2^-8      (ScoreFraction)
//	sigmoid, exp        tables of that grid with 12 fraction bits
//	learning rate/rows  multiples of 2^-22 to 2^-28, by kind (Model.RateFraction)
//
// All roundings are floor(x + 1/2) but the last one, which is the stochastic
// rounding of the quantiser with public noise. No rule depends on a value's
// size but where it saturates: scores that leave a table take its end's value,
// which is the exact limit at 12 bits. What does not fit (a weight of 128, a
// score of 256) is an error and not a wrap.
//
// # Models
//
// Linear regression with squared error, logistic and softmax regression with
// cross-entropy, and a perceptron with one hidden layer of rectifiers under a
// softmax. Steps are plain gradient descent on the mean over the step's rows:
// no momentum, no decay.
//
// # What it trusts
//
// Nothing but its arguments, which it checks. It holds a node's data in
// memory and never puts a value of them in an error.
package fixedpoint

package baseline

import (
	"context"
	"fmt"

	"credence/fl"
	"credence/models"
)

// Central trains the same kind of model in one place on pooled rows, from the
// same initial parameters that a job with this seed starts from.
func Central(ctx context.Context, spec models.Spec, training models.TrainConfig, train fl.Examples, seed uint64) ([]float32, error) {
	model, err := models.New(spec)
	if err != nil {
		return nil, fmt.Errorf("baseline: %w", err)
	}
	result, err := model.Train(ctx, model.Init(seed), train, training, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("baseline: central training: %w", err)
	}
	return result.Params, nil
}

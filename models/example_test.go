package models_test

import (
	"bytes"
	"context"
	"fmt"

	"credence/fl"
	"credence/models"
)

// A node trains the one shard that it was given, and the result is exported.
func Example() {
	m, err := models.New(models.Spec{Kind: models.Softmax, Inputs: 2, Classes: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	data := fl.Examples{Rows: 4, Features: 2, Classes: 2, X: []float32{0, 1, 0, 2, 1, 0, 2, 0}, Y: []int32{0, 0, 1, 1}}
	weights := []fl.Shard{{Index: 0, Offset: 0, Length: 4}} // the biases stay
	out, err := m.Train(context.Background(), m.Init(1), data, models.TrainConfig{LearningRate: 0.5, Epochs: 50}, weights, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	e, err := m.Evaluate(out.Params, data)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d parameters, %d of %d correct, biases %v\n", m.NumParameters(), e.Correct, e.Count, out.Params[4:])

	var file bytes.Buffer
	if err := m.WriteONNX(&file, out.Params, map[string]string{"round": "1"}); err != nil {
		fmt.Println(err)
		return
	}
	back, err := models.ReadONNX(&file)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(back.Model.Spec().Kind, back.Metadata)
	// Output:
	// 6 parameters, 4 of 4 correct, biases [0 0]
	// softmax map[round:1]
}

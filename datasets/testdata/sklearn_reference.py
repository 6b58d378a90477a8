"""Reference accuracies from scikit-learn on exactly the rows that this
package's built-in data sets train and test on.

    go test ./datasets -run TestExportExamples -args -export /tmp/reference
    python3 datasets/testdata/sklearn_reference.py /tmp/reference

(The folder must exist.) Each CSV holds normalised features, a label and a
split column. Prints one line a model: data set, model, rows, accuracy on the
training and on the test rows, mean cross entropy on the test rows.
"""

import csv
import sys

import numpy
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier


def read(path):
    with open(path, newline="") as f:
        rows = list(csv.reader(f))[1:]
    x = numpy.array([r[:-2] for r in rows], dtype=numpy.float32)
    y = numpy.array([int(r[-2]) for r in rows])
    test = numpy.array([r[-1] == "test" for r in rows])
    return x[~test], y[~test], x[test], y[test]


def report(data, name, model, parts):
    x, y, xt, yt = parts
    model.fit(x, y)
    print(
        f"{data:14} {name:34} train {len(y):5} test {len(yt):4}  "
        f"train accuracy {model.score(x, y):.4f}  "
        f"test accuracy {model.score(xt, yt):.4f} "
        f"({round(model.score(xt, yt) * len(yt))}/{len(yt)})  "
        f"test loss {log_loss(yt, model.predict_proba(xt)):.4f}",
        flush=True,
    )


def main(folder):
    print(f"python {sys.version.split()[0]}, numpy {numpy.__version__}, scikit-learn {sklearn.__version__}")

    cancer = read(f"{folder}/breast-cancer.csv")
    report("breast-cancer", "logistic, L2 C=1", LogisticRegression(C=1.0, max_iter=5000), cancer)
    report("breast-cancer", "logistic, no penalty", LogisticRegression(C=numpy.inf, max_iter=5000), cancer)

    digits = read(f"{folder}/digits.csv")
    report("digits", "softmax, L2 C=1", LogisticRegression(C=1.0, max_iter=5000), digits)
    report("digits", "softmax, no penalty", LogisticRegression(C=numpy.inf, max_iter=5000), digits)
    for seed in range(5):
        report(
            "digits",
            f"MLP 64-32-10, Adam, seed {seed}",
            MLPClassifier(hidden_layer_sizes=(32,), max_iter=1000, random_state=seed),
            digits,
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])

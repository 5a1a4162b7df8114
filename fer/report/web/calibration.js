// Calibration: how well probabilities match the accuracy. Also the accuracy with several views.

function showCalibration() {
  const { calibration } = page;
  if (!calibration) return;
  const made = section("calibration", "Calibration");
  const fixed = (digits) => (value) => (isNumber(value) ? value.toFixed(digits) : NONE);
  const { is_calibrated, rows } = calibration;
  const columns = [
    words("name", "split"),
    numbers("n", "n"),
    numbers("ece_before", is_calibrated ? "ECE before" : "ECE", percent),
    is_calibrated && numbers("ece_after", "after", percent),
    numbers("nll_before", is_calibrated ? "NLL before" : "NLL", fixed(4)),
    is_calibrated && numbers("nll_after", "after", fixed(4)),
    is_calibrated && numbers("temperature", "temperature", fixed(3)),
    rows.some((row) => isNumber(row.acc)) && numbers("acc", "accuracy of views", percent),
  ].filter(Boolean);
  const caption =
    "Expected calibration error (15 bins) and mean negative log-likelihood, before and after " +
    "the logits are divided by the temperature";
  made.append(
    table(columns, rows, { caption }),
    note(
      is_calibrated
        ? "Temperatures are fitted on val; they do not change any prediction from a single view. "
        : "The checkpoint has no temperature: its probabilities are not calibrated. ",
      "flip and ten_crop average the probabilities of several views of each image; the accuracy ",
      "in the section Results is that of plain images.",
    ),
    ...calibration.images.map(drawn),
  );
}

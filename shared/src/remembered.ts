/**
 * A pure function whose answer is kept for as long as what it was asked about: the same object gets
 * the same answer again. For objects that are never changed.
 */
export function remembered<Of extends object, Answer extends object | string>(
  make: (of: Of) => Answer,
): (of: Of) => Answer {
  const answers = new WeakMap<Of, Answer>();
  return (of) => {
    const known = answers.get(of);
    if (known !== undefined) return known;
    const answer = make(of);
    answers.set(of, answer);
    return answer;
  };
}
